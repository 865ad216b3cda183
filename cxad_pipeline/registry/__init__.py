"""Models in MLflow: log, register, promote and load a Detector.

Belongs here: everything that talks to MLflow. `promotion` decides and knows no MLflow. MLflow's client takes seconds to
import, so the modules here import it where it is used first.
"""
