"""The pages in the OpenAPI document: which there are, and what their addresses take."""

import re

from clipworks.serve.schemas import OBJECT, Schema, answer_of, json_answer, keyed, open_to_all
from clipworks.serve.settings import ServeSettings

_PAGE_QUERY: list[Schema] = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in (
        *("q", "like", "region", "minus", "where", "after", "before", "folder", "camera", "tag", "sort"),
        *("from", "fragment"),
    )
]
_LINK_QUERY: list[Schema] = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in ("mode", "label", "template", "model", "show", "against", "picture", "url")
]


def page_paths(settings: ServeSettings) -> dict[str, Schema]:
    """Every page of this server; docs/serve.md and docs/accounts.md say what stands there."""
    page = {"200": answer_of("text/html")}
    return {
        "/": {
            "get": open_to_all("The page.", page, *_PAGE_QUERY),
            "post": open_to_all("The page, after a search by picture.", page),
        },
        **_docs_paths(),
        "/playground": {
            "get": open_to_all("The playground.", page, *_LINK_QUERY),
            "post": keyed("The playground, answered without scripts.", page),
        },
        **_model_paths(),
        **(_people_paths(settings) if settings.require_keys else {}),
    }


def _docs_paths() -> dict[str, Schema]:
    """The documentation; it needs no key."""
    page = {"200": answer_of("text/html")}
    question = {"name": "q", "in": "query", "schema": {"type": "string", "maxLength": 200}}
    name = {"name": "page", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/docs": {
            "get": open_to_all("The documentation, or with `q` where words stand in it.", page, question)
        },
        "/docs/api": {"get": open_to_all("This document as a page.", page)},
        "/docs/{page}": {
            "get": open_to_all("A page of the documentation.", page | {"404": page["200"]}, name)
        },
    }


def _model_paths() -> dict[str, Schema]:
    """Pages of models and their twins; docs/catalogue.md says what stands there."""
    ok = {"200": json_answer({})}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    page = {"200": answer_of("text/html")}
    either = {"200": {"description": "The answer.", "content": {"text/html": {}, "application/json": {}}}}
    names = ("q", "task", "licence", "size", "status", "price", "sort")
    filters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    several = {"name": "m", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
    axes = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("quality", "cost")]
    json = {"requestBody": {"required": True, "content": {"application/json": {"schema": OBJECT}}}}
    return {
        "/models": {"get": open_to_all("The catalogue; without HTML as Infinity has it.", either, *filters)},
        "/models.json": {"get": open_to_all("The catalogue for programs.", ok, *filters)},
        "/models/{model}": {
            "get": open_to_all("One model; .json and .md behind its id say the same.", either, model),
            "post": keyed("As Hugging Face has it.", ok, model) | json,
        },
        "/compare": {"get": open_to_all("Models side by side.", page, several, *axes)},
        "/llms.txt": {
            "get": open_to_all("What stands where, for programs.", {"200": answer_of("text/plain")})
        },
    }


def _people_paths(settings: ServeSettings) -> dict[str, Schema]:
    """Signing in, and the pages of who is signed in; docs/accounts.md says what stands there."""
    page = {"200": answer_of("text/html")}
    form = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": OBJECT}}}}
    way = {"get": open_to_all("A form.", page), "post": open_to_all("What it says.", page) | form}
    shown = {
        "/account": "Credit, use and keys.",
        "/account/usage": "What was used by day, model and key, with `from` and `to`.",
        "/account/prices": "What models cost, and a calculator.",
        "/account/settings": "Password, sessions, and the end of the account.",
        "/operator": "Every account, for the operator.",
        "/operator/accounts/{id}": "One account.",
        "/operator/ledger": "The ledger, with a filter.",
        "/operator/health": "Models, database, requests and errors.",
    }
    sent = {
        "/account/pages-key": "Another key for the pages.",
        "/account/keys/{id}/rotate": "Another secret for a key.",
        "/account/keys/{id}/revoke": "End a key, at once and for ever.",
        "/account/password": "Change the password.",
        "/account/sign-out": "Sign every browser out.",
        "/account/close": "Delete the account and its data.",
        "/operator/accounts/{id}/grant": "Give credit.",
        "/operator/accounts/{id}/adjust": "Put a balance right.",
        "/operator/accounts/{id}/keys/{key}/revoke": "End a key of an account.",
    }
    both = {
        "/account/keys": ("Keys.", "Make one; its secret is shown this once."),
        "/account/wishes": ("The models that this account wants.", "Vote for a model, or take it back."),
        "/operator/models": ("Status, prices and providers of models.", "Set them."),
    }
    elsewhere = {
        "/sign-in/oidc": {"get": open_to_all("To where people sign in.", page)},
        "/sign-in/oidc/back": {"get": open_to_all("Back from there.", page)},
    }
    return {
        "/sign-in": way,
        "/sign-up": way,
        "/sign-out": {"post": open_to_all("The end of a session.", page) | form},
        **(elsewhere if settings.oidc_issuer else {}),
        **{path: {"get": keyed(words, page, *_in(path))} for path, words in shown.items()},
        "/account/usage.csv": {"get": keyed("What was used, as CSV.", {"200": answer_of("text/csv")})},
        **{path: {"post": keyed(words, page, *_in(path)) | form} for path, words in sent.items()},
        **{
            path: {"get": keyed(get, page), "post": keyed(post, page) | form}
            for path, (get, post) in both.items()
        },
    }


def _in(path: str) -> list[Schema]:
    """The parts of an address that are filled in."""
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
