"""A Flask application whose views stream async generators through `drive`."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from asyncgen_tools import drive
from tests.wsgi.streams import broken, numbers, report, story, worker

application = Flask(__name__)


@application.get("/story")
def story_view() -> Response:
    """The story that waits at the port `gate`."""
    return Response(drive(story(int(request.args["gate"]))), headers=worker())


@application.get("/numbers")
def numbers_view() -> Response:
    """A hundred lines."""
    return Response(drive(numbers(100)), headers=worker())


@application.get("/broken")
def broken_view() -> Response:
    """As many lines as `after` says, and an error."""
    return Response(drive(broken(int(request.args["after"]))), headers=worker())


@application.get("/report")
def report_view() -> Response:
    """The state of this worker."""
    return jsonify(report())
