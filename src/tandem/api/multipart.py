"""A form with one file, read while it comes: nothing of the file is kept here. It knows no noun.

RFC 7578, by python-multipart's parser. Starlette's own would put the file on the disk as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tandem.core.errors import Invalid

FIELD_BYTES = 4096
FIELDS = 32
MEDIA = b"multipart/form-data"


class Form:
    """The fields of a form, and the name of its file, whose bytes go to `sink` as they come."""

    def __init__(self, content_type: str, sink: Callable[[bytes], None]) -> None:
        """
        Args:
            content_type: the header of this name.

        Raises:
            Invalid: it names no form.
        """
        media, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if media != MEDIA or not boundary:
            raise Invalid("The request is no form.", hint="Send multipart/form-data with the fields file and purpose.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """None as long as no file came."""
        self._sink, self._ended = sink, False
        self._header, self._value, self._disposition = b"", b"", b""
        self._name, self._text, self._in_file = "", bytearray(), False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_header_field": self._field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers,
                    "on_end": self._whole,
                },
            )
        except FormParserError as error:
            raise _malformed(error) from None

    def feed(self, data: bytes) -> None:
        """Takes a piece of the body.

        Raises:
            Invalid: it is no form, or has too much in it.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(error) from None

    def close(self) -> None:
        """Says that nothing more comes.

        Raises:
            Invalid: the form is cut off.
        """
        if not self._ended:
            raise Invalid("The form ends in the middle.", hint="Send it again.")

    def _begin(self) -> None:
        self._disposition, self._text, self._in_file = b"", bytearray(), False

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        if not self._name:
            raise Invalid("A part of the form has no name.")
        if self._name in self.fields or (self._name == "file" and self.filename is not None) or len(self.fields) >= FIELDS:
            raise Invalid("The form names a field twice, or too many.", field=self._name[:64])
        if self._name == "file":
            if b"filename" not in options:
                raise Invalid("The field file is no file.", field="file", hint="Send it with a filename.")
            self._in_file, self.filename = True, options[b"filename"].decode(errors="replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._sink(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise Invalid(f"A field of the form is longer than {FIELD_BYTES} bytes.", field=self._name[:64])

    def _end(self) -> None:
        if not self._in_file:
            self.fields[self._name] = self._text.decode(errors="replace")

    def _whole(self) -> None:
        self._ended = True


def _malformed(error: Exception) -> Invalid:
    return Invalid(f"The form cannot be read: {error}.", hint="Send multipart/form-data with the fields file and purpose.")
