"""Every page that people see, and its address."""

from typing import TYPE_CHECKING

from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clipworks.serve.oidc import OpenId
from clipworks.serve.openapi import document
from clipworks.serve.site.account_page import AccountPage
from clipworks.serve.site.catalogue_page import CataloguePage
from clipworks.serve.site.compare_page import ComparePage
from clipworks.serve.site.docs_pages import DocsPages
from clipworks.serve.site.keys_page import KeysPage
from clipworks.serve.site.layout import STATIC, Layout
from clipworks.serve.site.model_page import ModelPage
from clipworks.serve.site.operator_models import OperatorModels
from clipworks.serve.site.operator_page import OperatorPage
from clipworks.serve.site.paid_search import PaidSearch
from clipworks.serve.site.people import People
from clipworks.serve.site.playground_page import PlaygroundPage
from clipworks.serve.site.search_page import SearchPage
from clipworks.serve.site.sign_in_page import SignInPage
from clipworks.serve.site.single_sign_on import SingleSignOn
from clipworks.serve.site.usage_page import UsagePage
from clipworks.serve.site.wishes_page import WishesPage

if TYPE_CHECKING:
    from clipworks.serve.key_gate import KeyGate
    from clipworks.serve.service import Service
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue


def pages(
    service: "Service", gate: "KeyGate | None", catalogue: "Catalogue", shelf: "Shelf"
) -> list[Route | Mount]:
    """The routes of all pages.

    Args:
        service: models and gallery.
        gate: accounts; None on a server without.
        catalogue: what is known of models.
        shelf: what the operator and the accounts say of them.
    """
    layout = Layout(service.settings)
    search_page = SearchPage(service, layout)
    paid = PaidSearch(service, gate, search_page, layout) if gate is not None else search_page
    playground = PlaygroundPage(service, layout, search_page.sample_pictures)
    docs = DocsPages(layout, document(service.settings))
    return [
        Route("/", paid.show, methods=["GET"]),
        Route("/", paid.show_similar, methods=["POST"]),
        Route("/playground", playground.show, methods=["GET"]),
        Route("/playground", playground.answer, methods=["POST"]),
        Route("/docs", docs.first, methods=["GET"]),
        Route("/docs/api", docs.api, methods=["GET"]),
        Route("/docs/{page}", docs.page, methods=["GET"]),
        *_model_pages(service, layout, catalogue, shelf),
        *(_people_pages(service, gate, layout, catalogue, shelf) if gate is not None else ()),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def _model_pages(service: "Service", layout: Layout, catalogue: "Catalogue", shelf: "Shelf") -> list[Route]:
    """The catalogue, and what accounts and the operator say of its models."""
    models_page = CataloguePage(service, layout, catalogue, shelf)
    return [
        Route("/models", models_page.show, methods=["GET"]),
        Route("/models.json", models_page.machine_list, methods=["GET"]),
        Route("/llms.txt", models_page.llms, methods=["GET"]),
        Route("/models/{model:path}", ModelPage(service, layout, catalogue, shelf).show, methods=["GET"]),
        Route("/compare", ComparePage(service, layout, catalogue, shelf).show, methods=["GET"]),
    ]


def _people_pages(
    service: "Service", gate: "KeyGate", layout: Layout, catalogue: "Catalogue", shelf: "Shelf"
) -> list[Route]:
    """Signing in, and the pages of who is signed in."""
    people = People(gate, layout)
    door, account = SignInPage(gate, layout), AccountPage(people, service)
    keys, usage = KeysPage(people, service), UsagePage(people, service)
    operator = OperatorPage(people, service)
    wishes, models = WishesPage(people, catalogue, shelf), OperatorModels(people, catalogue, shelf)
    elsewhere: list[Route] = []
    if service.settings.oidc_issuer:
        sso = SingleSignOn(gate, layout, door, OpenId(service.settings))
        elsewhere = [
            Route("/sign-in/oidc", sso.leave, methods=["GET"]),
            Route("/sign-in/oidc/back", sso.come_back, methods=["GET"]),
        ]
    return [
        *elsewhere,
        Route("/sign-in", door.sign_in, methods=["GET", "POST"]),
        Route("/sign-up", door.sign_up, methods=["GET", "POST"]),
        Route("/sign-out", door.sign_out, methods=["POST"]),
        Route("/account", account.overview, methods=["GET"]),
        Route("/account/pages-key", account.renew_pages_key, methods=["POST"]),
        Route("/account/keys", keys.show, methods=["GET"]),
        Route("/account/keys", keys.create, methods=["POST"]),
        Route("/account/keys/{id}/rotate", keys.rotate, methods=["POST"]),
        Route("/account/keys/{id}/revoke", keys.revoke, methods=["POST"]),
        Route("/account/usage", usage.usage, methods=["GET"]),
        Route("/account/usage.csv", usage.csv, methods=["GET"]),
        Route("/account/prices", usage.prices, methods=["GET"]),
        Route("/account/settings", account.settings, methods=["GET"]),
        Route("/account/password", account.change_password, methods=["POST"]),
        Route("/account/sign-out", account.end_sessions, methods=["POST"]),
        Route("/account/close", account.close, methods=["POST"]),
        Route("/account/wishes", wishes.show, methods=["GET"]),
        Route("/account/wishes", wishes.vote, methods=["POST"]),
        Route("/operator", operator.accounts, methods=["GET"]),
        Route("/operator/accounts/{id}", operator.account, methods=["GET"]),
        Route("/operator/accounts/{id}/grant", operator.grant, methods=["POST"]),
        Route("/operator/accounts/{id}/adjust", operator.adjust, methods=["POST"]),
        Route("/operator/accounts/{id}/keys/{key}/revoke", operator.revoke, methods=["POST"]),
        Route("/operator/ledger", operator.ledger, methods=["GET"]),
        Route("/operator/health", operator.health, methods=["GET"]),
        Route("/operator/models", models.show, methods=["GET"]),
        Route("/operator/models", models.change, methods=["POST"]),
    ]
