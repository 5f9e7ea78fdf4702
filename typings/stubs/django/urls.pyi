from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

class URLPattern: ...

def path(route: str, view: Callable[[HttpRequest], HttpResponseBase]) -> URLPattern: ...
