"""Requests and responses."""

from typing import Annotated, Any, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from libs.common.events import storefront
from libs.common.http.fields import Timestamp
from services.recommender.domain.people import Behaviour
from services.recommender.handlers.intake import Report
from services.recommender.handlers.recommending import Recommendation

Sku: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
# Ids stand for people and must not name them: an e-mail address is refused by its form. Of U+0085, the readers of the
# document and ours disagree whether it is a blank.
PersonId: TypeAlias = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s\x85@]+$")]
Label: TypeAlias = Annotated[str, Field(min_length=1, max_length=64)]
Quantity: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class _BehaviourReport(BaseModel):
    """One act of one visitor. An `id` makes posting it again have no second effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID | None = Field(default=None, description="Makes posting the event again harmless.")
    visitor_id: PersonId
    customer_id: PersonId | None = None
    session_id: PersonId | None = None
    occurred_at: Timestamp
    is_derived: bool = Field(default=False, strict=True, description="Computed from other data instead of observed.")

    def _common(self) -> dict[str, Any]:
        return {
            "visitor_id": self.visitor_id,
            "customer_id": self.customer_id,
            "session_id": self.session_id,
            "occurred_at": self.occurred_at,
            "is_derived": self.is_derived,
        }


class ProductViewedReport(_BehaviourReport):
    """A visitor looked at a product."""

    type: Literal["product.viewed"]
    sku: Sku

    def report(self) -> Report:
        """Return the event."""
        return Report(self.id, storefront.ProductViewed(sku=self.sku, **self._common()))


class ProductClickedReport(_BehaviourReport):
    """A visitor followed a link to a product."""

    type: Literal["product.clicked"]
    sku: Sku
    placement: Label | None = None
    recommendation_id: Label | None = None

    def report(self) -> Report:
        """Return the event."""
        event = storefront.ProductClicked(
            sku=self.sku,
            placement=self.placement,
            recommendation_id=self.recommendation_id,
            **self._common(),
        )
        return Report(self.id, event)


class SearchPerformedReport(_BehaviourReport):
    """A visitor searched."""

    type: Literal["search.performed"]
    query: Annotated[str, Field(min_length=1, max_length=200)]
    results: Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)] | None = None

    def report(self) -> Report:
        """Return the event."""
        event = storefront.SearchPerformed(query=self.query, results=self.results, **self._common())
        return Report(self.id, event)


class CartAddedReport(_BehaviourReport):
    """A visitor put units of a product into the basket."""

    type: Literal["cart.added"]
    sku: Sku
    quantity: Quantity = 1

    def report(self) -> Report:
        """Return the event."""
        event = storefront.CartAdded(sku=self.sku, quantity=self.quantity, **self._common())
        return Report(self.id, event)


class CartRemovedReport(_BehaviourReport):
    """A visitor took units of a product out of the basket."""

    type: Literal["cart.removed"]
    sku: Sku
    quantity: Quantity = 1

    def report(self) -> Report:
        """Return the event."""
        event = storefront.CartRemoved(sku=self.sku, quantity=self.quantity, **self._common())
        return Report(self.id, event)


class RecommendationShownReport(_BehaviourReport):
    """A visitor was shown these products, in this order."""

    type: Literal["recommendation.shown"]
    recommendation_id: Label
    placement: Label = "unspecified"
    skus: Annotated[list[Sku], Field(min_length=1, max_length=100)]

    def report(self) -> Report:
        """Return the event."""
        event = storefront.RecommendationShown(
            recommendation_id=self.recommendation_id,
            placement=self.placement,
            skus=self.skus,
            **self._common(),
        )
        return Report(self.id, event)


BehaviourReport: TypeAlias = (
    ProductViewedReport
    | ProductClickedReport
    | SearchPerformedReport
    | CartAddedReport
    | CartRemovedReport
    | RecommendationShownReport
)
behaviour_report: TypeAdapter[BehaviourReport] = TypeAdapter(Annotated[BehaviourReport, Field(discriminator="type")])
REPORT_TYPES = frozenset(event.type for event in get_args(Behaviour))


def behaviour_report_schema() -> dict[str, Any]:
    """Describe a report without references, for an operation whose body the framework does not read."""
    return {"oneOf": [model.model_json_schema() for model in get_args(BehaviourReport)]}


class RecommendedItem(BaseModel):
    """A product worth showing, in stock and listed at the time of the answer."""

    sku: str
    score: float = Field(description="From 0 to 1; only the order within one answer means anything.")
    reason: str = Field(examples=["bought together with CRUNCHY-ARMCHAIR"])


class DecisionAlternative(BaseModel):
    """A product that was shown, and what its score is made of."""

    option: str
    score: float
    details: dict[str, float]


class RecommendationDecision(BaseModel):
    """Why the answer is what it is."""

    decision: str
    subject: str
    chosen: str
    reason: str
    rule: str
    inputs: dict[str, Any] = Field(
        description="The products started from, how many candidates there were, what kept some out."
    )
    alternatives: list[DecisionAlternative]


class RecommendationsResponse(BaseModel):
    """What to show."""

    recommendation_id: UUID
    items: list[RecommendedItem]
    rule: str = Field(examples=["item-neighbours/1"])
    as_of: AwareDatetime = Field(description="The counts behind the answer are of then or later.")
    decision: RecommendationDecision

    @classmethod
    def of(cls, recommendation: Recommendation) -> "RecommendationsResponse":
        """Shape an answer."""
        decision = recommendation.decision
        return cls(
            recommendation_id=recommendation.id,
            items=[
                RecommendedItem(sku=one.sku, score=one.score, reason=one.reason) for one in recommendation.suggestions
            ],
            rule=recommendation.rule,
            as_of=recommendation.as_of,
            decision=RecommendationDecision(
                decision=decision.decision,
                subject=decision.subject,
                chosen=decision.chosen,
                reason=decision.reason,
                rule=decision.rule,
                inputs=dict(decision.inputs),
                alternatives=[
                    DecisionAlternative(option=one.sku, score=one.score, details=dict(one.details))
                    for one in recommendation.suggestions
                ],
            ),
        )
