"""Pages of lists: the query parameters `after`, `limit` and `order`, and the object that a list is answered with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pellucid.arguments import shown
from pellucid.serve.openai.errors import ApiError


MAX_CURSOR = 200  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """Which page is asked for: the id of the last one of the page before (None: the first page), how many, which first."""

    after: str | None
    limit: int
    newest_first: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """As the stores take them, but for the order."""
        return {"after": self.after, "limit": self.limit}


def page_request(request: Request, *, most: int = 100, default: int = 20, ordered: bool = False) -> PageRequest:
    """The page of a query.

    Raises:
        ApiError: a parameter outside its range (400).
    """
    query = request.query_params
    limit = query.get("limit", str(default))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 9 and 1 <= int(limit) <= most):
        raise ApiError(400, f"{shown(limit)} is no whole number from 1 to {most} - 'limit'", param="limit")
    order = query.get("order", "desc") if ordered else "desc"
    if order not in ("asc", "desc"):
        raise ApiError(400, f"{shown(order)} is not one of ['asc', 'desc'] - 'order'", param="order")
    after = query.get("after") or None
    if after is not None and len(after) > MAX_CURSOR:
        raise ApiError(400, f"{shown(after)} is no id - 'after'", param="after")
    return PageRequest(after=after, limit=int(limit), newest_first=order == "desc")


def page_object(items: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """The response of a list."""
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return {"object": "list", "data": list(items), "has_more": more, **ends}
