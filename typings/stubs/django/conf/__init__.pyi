from typing import Any

class LazySettings:
    def configure(self, **options: Any) -> None: ...

settings: LazySettings
