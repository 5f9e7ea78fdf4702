"""A Django application whose views stream async generators through `drive`, and one that does without."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

from asyncgen_tools import drive
from tests.wsgi.streams import broken, numbers, report, story, worker

if TYPE_CHECKING:
    from django.http import HttpRequest


def story_view(request: HttpRequest) -> StreamingHttpResponse:
    """The story that waits at the port `gate`."""
    return StreamingHttpResponse(drive(story(int(request.GET["gate"]))), headers=worker())


def numbers_view(_request: HttpRequest) -> StreamingHttpResponse:
    """A hundred lines."""
    return StreamingHttpResponse(drive(numbers(100)), headers=worker())


def broken_view(request: HttpRequest) -> StreamingHttpResponse:
    """As many lines as `after` says, and an error."""
    return StreamingHttpResponse(drive(broken(int(request.GET["after"]))), headers=worker())


def report_view(_request: HttpRequest) -> JsonResponse:
    """The state of this worker."""
    return JsonResponse(report())


def undriven_view(_request: HttpRequest) -> StreamingHttpResponse:
    """The async generator itself, which makes Django warn, and read all of it before it sends the first line."""
    return StreamingHttpResponse(numbers(100))


urlpatterns = [
    path("story", story_view),
    path("numbers", numbers_view),
    path("broken", broken_view),
    path("report", report_view),
    path("undriven", undriven_view),
]
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY=secrets.token_hex(), ALLOWED_HOSTS=["127.0.0.1"])
application = get_wsgi_application()
