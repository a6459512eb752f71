"""Our own HTTP API, one thin file per noun. A route reads the request, makes one call, writes the answer."""
