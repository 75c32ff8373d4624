"""The routers of the catalog."""

from services.catalog.api.routes.categories import router as categories_router
from services.catalog.api.routes.imports import router as imports_router
from services.catalog.api.routes.products import router as products_router
from services.catalog.api.routes.search import router as search_router

ROUTERS = (imports_router, products_router, categories_router, search_router)
