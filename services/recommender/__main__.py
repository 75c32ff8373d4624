"""`python -m services.recommender api consumer jobs migrate`: any of them in one process."""

from libs.common.runtime import main
from services.recommender.bootstrap import SERVICE

if __name__ == "__main__":
    main(SERVICE)
