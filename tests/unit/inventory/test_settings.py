import pytest

from libs.common.settings import InvalidSettings, load_settings
from services.inventory.bootstrap.policies import allocation_policy_of
from services.inventory.domain.strategies import ShippingCost, Strategy, Weights
from services.inventory.settings import InventorySettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("INVENTORY_DATABASE_URL", "postgresql://inventory@127.0.0.1/inventory")
    return monkeypatch


class TestAllocationPolicy:
    def test_can_be_any_strategy_there_is(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("INVENTORY_ALLOCATION_COSTS", '{"*": {"parcel_minor": 1}}')
        for strategy in Strategy:
            environment.setenv("INVENTORY_ALLOCATION_STRATEGY", strategy)

            assert allocation_policy_of(load_settings(InventorySettings)).strategy is strategy

    def test_takes_the_nearest_single_source_first_unless_told_otherwise(self) -> None:
        policy = allocation_policy_of(load_settings(InventorySettings))

        assert policy.strategy_for("web") is Strategy.SINGLE_SOURCE_FIRST

    def test_is_read_by_channel_with_weights_and_costs(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("INVENTORY_ALLOCATION_STRATEGY", "weighted")
        environment.setenv("INVENTORY_ALLOCATION_STRATEGY_BY_CHANNEL", '{"marketplace": "cheapest"}')
        environment.setenv("INVENTORY_ALLOCATION_WEIGHTS", '{"parcels": 3, "cover": 0.5}')
        environment.setenv("INVENTORY_ALLOCATION_COSTS", '{"*": {"parcel_minor": 300}, "LON": {"per_km_minor": 0.2}}')

        policy = allocation_policy_of(load_settings(InventorySettings))

        assert (policy.strategy_for("web"), policy.strategy_for("marketplace")) == (
            Strategy.WEIGHTED,
            Strategy.CHEAPEST,
        )
        assert policy.weights == Weights(parcels=3, cover=0.5)
        assert policy.cost == ShippingCost(parcel_minor=300)
        assert policy.costs == {"LON": ShippingCost(per_km_minor=0.2)}
        assert policy.needs_demand

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("INVENTORY_ALLOCATION_STRATEGY", "random"),
            ("INVENTORY_ALLOCATION_STRATEGY", "cheapest"),
            ("INVENTORY_ALLOCATION_STRATEGY_BY_CHANNEL", "web=nearest"),
            ("INVENTORY_ALLOCATION_STRATEGY_BY_CHANNEL", '{"web": "random"}'),
            ("INVENTORY_ALLOCATION_WEIGHTS", '{"parcels": -1}'),
            ("INVENTORY_ALLOCATION_WEIGHTS", '{"parcel": 1}'),
            ("INVENTORY_ALLOCATION_WEIGHTS", '{"parcels": 0, "distance": 0}'),
            ("INVENTORY_ALLOCATION_COSTS", '{"*": {"parcel_minor": NaN}}'),
            ("INVENTORY_ALLOCATION_COSTS", "[]"),
        ],
    )
    def test_is_refused_at_the_start_if_it_makes_no_sense(
        self, environment: pytest.MonkeyPatch, variable: str, value: str
    ) -> None:
        environment.setenv(variable, value)

        with pytest.raises(InvalidSettings, match="ALLOCATION"):
            load_settings(InventorySettings)
