"""The service as an ASGI app.

Belongs here: putting routes, the middleware and error handlers together; the head of the OpenAPI document; the pages of
`/docs`. Does not belong here: what a route does (`routes_*`), what the service is made of (`service`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from zoneinfo import ZoneInfo

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from cxad_pipeline import __version__
from cxad_pipeline.interactions.configured_columns import subjects
from cxad_pipeline.serving import problems
from cxad_pipeline.serving.front import Front, page_policy
from cxad_pipeline.serving.incident_answers import titles
from cxad_pipeline.serving.known_segments import configured_values
from cxad_pipeline.serving.request_log import configure_logging
from cxad_pipeline.serving.routes_alerts import alert_routes
from cxad_pipeline.serving.routes_incidents import incident_routes
from cxad_pipeline.serving.routes_review import review_routes
from cxad_pipeline.serving.routes_scoring import record_schemas, scoring_routes
from cxad_pipeline.serving.routes_segments import segment_routes
from cxad_pipeline.serving.routes_status import status_routes
from cxad_pipeline.serving.routes_stream import stream_routes
from cxad_pipeline.serving.service import Service
from cxad_pipeline.serving.store_access import StoreAccess
from cxad_pipeline.settings import Settings, load_settings

TITLE = "CX Anomaly Detector"
_DESCRIPTION = """\
Scores interactions of a contact centre, without labels: which are unusual, and why. Higher = more anomalous.

Errors are problem details (RFC 9457). A key goes into the header `Authorization: Bearer ...`; a service that listens on
its own machine alone and has no keys asks for none.
"""
_ASSETS = "/docs-assets"


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the app of one worker; `uvicorn --factory cxad_pipeline.serving.app:create_app` calls this.

    Parameters
    ----------
    settings
        The configuration; read from file and environment unless given.

    Raises
    ------
    SettingsError
        If the configuration can't be used.
    """
    settings = settings or load_settings()
    configure_logging(settings.serving.log_level)
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=f"{_DESCRIPTION}\nTimes without a zone are in {settings.timezone}.\n",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the address as this service sees it, without its proxy's TLS
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.router.routes.extend(scoring_routes(service))  # first, since the router tries them in turn
    for routes in (
        status_routes(service),
        stream_routes(service.stream, read=service.keyring.require("read")),
        *_store_routes(service),
        _docs(),
    ):
        app.include_router(routes)
    # Swagger UI from a package: the page works without the internet, and the browser loads nothing from elsewhere.
    app.mount(_ASSETS, StaticFiles(directory=str(files("fastapi_swagger.resources"))), name="docs-assets")
    problems.install(app, record_schemas(service))
    paths = {*app.openapi()["paths"], "/docs", "/openapi.json"}
    app.add_middleware(Front, serving=settings.serving, keyring=service.keyring, metrics=service.metrics, paths=paths)
    return app


def _store_routes(service: Service) -> list[APIRouter]:
    """The routes that ask the store, which take turns."""
    settings, store = service.settings, StoreAccess(service.store)
    zone, dimensions = ZoneInfo(settings.timezone), settings.segments.dimensions
    configured = configured_values(settings)
    read, review = service.keyring.require("read"), service.keyring.require("reviewer")
    return [
        review_routes(
            store,
            read=read,
            review=review,
            subjects=subjects(settings),
            zone=zone,
            dimensions=dimensions,
            configured=configured,
            expected_for=dt.timedelta(days=settings.feedback.expected_days),
        ),
        incident_routes(
            store,
            read=read,
            title=titles(service.schema),
            promised_per_week=settings.incidents.budget_per_week,
            zone=zone,
            dimensions=dimensions,
            configured=configured,
        ),
        alert_routes(store, read=read, review=review),
        segment_routes(store, read=read, subjects=subjects(settings), zone=zone, dimensions=dimensions),
    ]


def _docs() -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def docs() -> HTMLResponse:
        """Swagger UI."""
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=TITLE,
            swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS}/favicon-32x32.png",
        )
        policy = page_policy(bytes(page.body).decode())
        return HTMLResponse(page.body, headers={"Content-Security-Policy": policy})

    return routes
