"""What warehouses report over HTTP, and how a row of it is read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Union
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from libs.common.clock import Clock
from libs.common.currencies import MINOR_DIGITS
from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsExpected, WarehouseReport
from libs.common.http.fields import IsoTime
from libs.common.http.ndjson import RowError
from libs.common.http.query import IsoDate
from libs.common.money import MINOR_MAX
from libs.common.telemetry.tracing import current_correlation_id, current_traceparent
from services.inventory.domain.plausibility import (
    CODE_CHARACTERS_MAX,
    SEQUENCE_MAX,
    SKU_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    UNITS_MAX,
    InvalidStockEvent,
)
from services.inventory.domain.stock_events import REPORTS

_REASON_CHARACTERS_MAX = 200


def _whole_number(least: int, most: int, **more: Any) -> Any:
    # Said here, and checked where reports from the bus are, too (`plausibility`).
    return Field(json_schema_extra={"minimum": least, "maximum": most, **more})


def _text(characters_max: int = TEXT_CHARACTERS_MAX) -> Any:
    return Field(json_schema_extra={"minLength": 1, "maxLength": characters_max})


_Units = Annotated[int, _whole_number(1, UNITS_MAX)]
_UnitsOrNone = Annotated[int, _whole_number(0, UNITS_MAX)]
_Change = Annotated[int, _whole_number(-UNITS_MAX, UNITS_MAX, **{"not": {"const": 0}})]
_Text = Annotated[str, _text()]
_Code = Annotated[str, _text(CODE_CHARACTERS_MAX)]
_Cost = Annotated[int, _whole_number(0, MINOR_MAX)]
_Currency = Annotated[str, Field(description="ISO 4217.", json_schema_extra={"enum": sorted(MINOR_DIGITS)})]
_Sequence = Annotated[int, _whole_number(1, SEQUENCE_MAX)]


class _StockEvent(BaseModel):
    # A misspelt field is a mistake to be told of, and "5" is no number.
    model_config = ConfigDict(extra="forbid", strict=True)

    id: UUID = Field(description="The event's own id: sent again, it changes nothing more.")
    sku: str = Field(min_length=1, max_length=SKU_CHARACTERS_MAX)
    warehouse: str = Field(min_length=1, max_length=CODE_CHARACTERS_MAX)
    occurred_at: IsoTime = Field(description="When it happened in the warehouse.")
    sequence: _Sequence | None = Field(default=None, description="Counts the events of one warehouse from 1.")
    reference: _Text | None = Field(default=None, description="The warehouse's own document number.")
    lot: _Code | None = Field(default=None, description="The lot that the units belong to.")


class GoodsReceivedEvent(_StockEvent):
    """Units arrived from a supplier."""

    type: Literal["goods.received"]
    quantity: _Units
    unit_cost_minor: _Cost | None = Field(default=None, description="What one unit cost, with its currency.")
    currency: _Currency | None = None
    expires_on: IsoDate | None = Field(default=None, description="The last day on which the lot may be used.")


class GoodsExpectedEvent(_StockEvent):
    """A delivery is on its way; said again under its reference, the later word holds, and 0 units call it off."""

    type: Literal["goods.expected"]
    reference: _Text = Field(description="The document under which the goods will be received.")
    quantity: _UnitsOrNone
    expected_at: IsoTime = Field(description="When they should be there.")


class GoodsPickedEvent(_StockEvent):
    """Units left the shelf; for an order they stay on hand, packed, until its shipment leaves."""

    type: Literal["goods.picked"]
    quantity: _Units
    order_id: UUID | None = None


class GoodsAdjustedEvent(_StockEvent):
    """The warehouse corrected its stock."""

    type: Literal["goods.adjusted"]
    delta: _Change
    reason: _Text


class GoodsWrittenOffEvent(_StockEvent):
    """Units were taken out of stock for good and sold to nobody."""

    type: Literal["goods.written-off"]
    quantity: _Units
    reason: _Text


class GoodsCountedEvent(_StockEvent):
    """Somebody counted; what happened after the count still applies on top of it."""

    type: Literal["goods.counted"]
    counted: _UnitsOrNone = Field(description="Units on the shelf, of all lots together.")
    reason: _Text | None = Field(default=None, description="What explains the discrepancy.")
    counted_by: _Text | None = None


class TransferDispatchedEvent(_StockEvent):
    """Units left for another warehouse."""

    type: Literal["transfer.dispatched"]
    transfer_id: UUID
    destination: _Code
    quantity: _Units
    expected_at: IsoTime | None = Field(default=None, description="When it should be there.")


class TransferReceivedEvent(_StockEvent):
    """Units of a transfer arrived."""

    type: Literal["transfer.received"]
    transfer_id: UUID
    quantity: _Units


StockEvent = (
    GoodsReceivedEvent
    | GoodsExpectedEvent
    | GoodsPickedEvent
    | GoodsAdjustedEvent
    | GoodsCountedEvent
    | GoodsWrittenOffEvent
    | TransferDispatchedEvent
    | TransferReceivedEvent
)

_REPORT_BY_TYPE: Final[Mapping[str, type[WarehouseReport]]] = {report.type: report for report in REPORTS}
STOCK_EVENT: TypeAdapter[StockEvent] = TypeAdapter(Annotated[StockEvent, Field(discriminator="type")])


class EventRows:
    """Reads events as if they had come from the bus, on behalf of one request."""

    def __init__(self, clock: Clock) -> None:
        """All events of a request have its ids and the time of its beginning."""
        self._time = clock.now()
        self._correlation_id = current_correlation_id()
        self._traceparent = current_traceparent()

    def event(self, body: bytes) -> Envelope:
        """
        Read one event.

        :raises ValidationError: if it is no event.
        """
        try:
            row = _DECODER.decode(body)
            event_id, report = row.id, row
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # Whatever is not read at once is read again by what can say where it is wrong, or that it is not.
            request = STOCK_EVENT.validate_json(body)
            event_id, report = request.id, _report_of(request)
        return Envelope(
            id=event_id,
            event=report,
            time=self._time,
            source="http",
            correlation_id=self._correlation_id,
            traceparent=self._traceparent,
        )

    def row(self, number: int, body: bytes) -> Envelope | RowError:
        """Read one row of an upload, or say why it is none."""
        try:
            return self.event(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            code = "malformed-json" if first["type"] == "json_invalid" else InvalidStockEvent.code
            return RowError(number, code, str(first["msg"])[:_REASON_CHARACTERS_MAX], _field_of(first))


def _row_of(report: type[WarehouseReport]) -> type[msgspec.Struct]:
    """
    Return a report with the id of its event, read in a microsecond.

    It accepts nothing that the model of the same event, which the API describes, does not.
    """
    sku = Annotated[str, msgspec.Meta(min_length=1, max_length=SKU_CHARACTERS_MAX)]
    warehouse = Annotated[str, msgspec.Meta(min_length=1, max_length=CODE_CHARACTERS_MAX)]
    moment = Annotated[datetime, msgspec.Meta(tz=True)]
    fields: list[Any] = [("id", UUID), ("sku", sku), ("warehouse", warehouse), ("occurred_at", moment)]
    if "expected_at" in report.__struct_fields__:
        fields.append(("expected_at", moment) if report is GoodsExpected else ("expected_at", moment | None, None))
    if report is GoodsExpected:
        fields.append(("reference", str))
    return msgspec.defstruct(
        f"{report.__name__}Row",
        fields,
        bases=(report,),
        tag_field="type",
        tag=report.type,
        forbid_unknown_fields=True,
        frozen=True,
        kw_only=True,
    )


_DECODER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Union[*map(_row_of, REPORTS)])


def problems_of(error: ValidationError) -> list[dict[str, Any]]:
    """Return the errors of an event that was posted alone, placed in the body of its request."""
    problems: list[dict[str, Any]] = []
    for problem in error.errors(include_input=False, include_url=False):
        field = _field_of(problem)
        # Where the text breaks off is a position, which the common handler of such errors reads from the place.
        place = (0,) if problem["type"] == "json_invalid" else (field,) if field else ()
        problems.append({**problem, "loc": ("body", *place)})
    return problems


def _field_of(problem: ErrorDetails) -> str | None:
    """Return the field that is wrong, without the type of the event, which pydantic puts first."""
    if problem["type"] in {"union_tag_not_found", "union_tag_invalid"}:
        return "type"
    return ".".join(str(part) for part in problem["loc"][1:]) or None


def _report_of(request: StockEvent) -> WarehouseReport:
    """Return the report itself: a row has its fields, besides the event's id and type."""
    content = {name: getattr(request, name) for name in type(request).model_fields if name not in {"id", "type"}}
    return _REPORT_BY_TYPE[request.type](**content)
