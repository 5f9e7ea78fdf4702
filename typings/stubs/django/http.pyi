from collections.abc import AsyncIterable, Iterable, Mapping

class HttpRequest:
    GET: Mapping[str, str]

class HttpResponseBase: ...

class StreamingHttpResponse(HttpResponseBase):
    def __init__(
        self,
        streaming_content: Iterable[bytes | str] | AsyncIterable[bytes | str] = (),
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...

class JsonResponse(HttpResponseBase):
    def __init__(self, data: object) -> None: ...
