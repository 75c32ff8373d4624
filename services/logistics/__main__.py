"""`python -m services.logistics api consumer relay jobs simulator migrate`: any of them in one process."""

from libs.common.runtime import main
from services.logistics.bootstrap import SERVICE

if __name__ == "__main__":
    main(SERVICE)
