"""`python -m services.inventory api consumer relay jobs auditor migrate`: any of them in one process."""

from libs.common.runtime import main
from services.inventory.bootstrap import SERVICE

if __name__ == "__main__":
    main(SERVICE)
