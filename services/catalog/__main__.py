from libs.common.runtime import main
from services.catalog.bootstrap import SERVICE

main(SERVICE)
