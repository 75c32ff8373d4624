from deploy.local.ports import PORTS
from deploy.local.services import SERVICES, Spread, service_processes


class TestServiceProcesses:
    def test_gives_a_laptop_an_api_and_a_worker_for_each_service(self) -> None:
        names = [process.name for process in service_processes(Spread.LAPTOP)]

        assert len(names) == 2 * len(SERVICES)
        assert names[:4] == ["catalog-api", "catalog-worker", "inventory-api", "inventory-worker"]

    def test_gives_every_role_a_process_that_a_test_can_kill(self) -> None:
        roles = {
            process.name: process.roles
            for process in service_processes(Spread.ROLES)
            if process.service.name == "logistics"
        }

        assert roles == {
            "logistics-api": ("api",),
            "logistics-consumer": ("consumer",),
            "logistics-relay": ("relay",),
            "logistics-jobs": ("jobs",),
            "logistics-simulator": ("simulator",),
        }

    def test_leaves_no_role_out_of_the_worker(self) -> None:
        for laptop in service_processes(Spread.LAPTOP):
            if not laptop.is_api:
                assert laptop.roles == laptop.service.roles


class TestPorts:
    def test_are_all_different(self) -> None:
        numbers = [port.number for port in PORTS]

        assert len(numbers) == len(set(numbers))

    def test_can_all_be_changed_by_a_variable_of_their_own(self) -> None:
        variables = [port.variable for port in PORTS]

        assert len(variables) == len(set(variables))
