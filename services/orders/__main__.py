"""Runs the roles of the orders service that are named on the command line."""

from libs.common.runtime import main
from services.orders.bootstrap import SERVICE

if __name__ == "__main__":
    main(SERVICE)
