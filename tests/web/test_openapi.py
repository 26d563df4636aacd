"""The description of the API: valid OpenAPI 3.1, and nothing of the API is missing from it."""

from __future__ import annotations

import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from project.api import models

#: Served for people: the page that shows the description, its assets, and the description itself.
FOR_PEOPLE = {"/api/docs", "/api/docs/assets/{name}", "/api/v1/openapi.json"}


@pytest.fixture
def spec(visitor):
    answer = visitor.get("openapi.json")
    assert answer.status_code == 200
    return answer.json


def operations(spec):
    return {(method, path): found for path, item in spec["paths"].items() for method, found in item.items()}


def test_it_is_valid_openapi_3_1(spec):
    assert spec["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(spec).validate()


def test_every_route_is_described_and_nothing_else(app, spec):
    routes = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<:]+:)?([^>]+)>", r"{\1}", rule.rule)
        if path.startswith(("/api/", "/healthz", "/readyz")) and path not in FOR_PEOPLE:
            routes |= {(method.lower(), path) for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert set(operations(spec)) == routes
    assert len(routes) >= 16


def test_every_operation_says_what_it_is_and_how_it_refuses(spec):
    seen = set()
    for (method, path), operation in operations(spec).items():
        assert operation["summary"].endswith((".", "space")), path
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorBody"}, (method, path, status)
        if operation.get("security") == [{"signedLink": []}]:
            assert {"403", "404"} <= set(operation["responses"]), path
        elif path.startswith("/api/"):
            assert {"401", "403"} <= set(operation["responses"]), path
            assert {"bearerAuth", "cookieAuth"} & {name for way in operation["security"] for name in way}, path


def test_both_ways_to_say_who_calls_are_described(app, spec):
    schemes = spec["components"]["securitySchemes"]
    assert (schemes["bearerAuth"]["type"], schemes["bearerAuth"]["scheme"]) == ("http", "bearer")
    assert schemes["cookieAuth"]["name"] == app.config["SESSION_COOKIE_NAME"]


def test_a_submit_is_described_as_json_and_as_a_form(spec):
    body = spec["paths"]["/api/v1/spaces/{name}/requests"]["post"]["requestBody"]
    assert set(body["content"]) == {"application/json", "multipart/form-data"}
    fields = spec["components"]["schemas"]["Submission"]["properties"]
    assert {"prompt", "parameters"} <= set(fields)
    responses = spec["paths"]["/api/v1/spaces/{name}/requests"]["post"]["responses"]
    assert {"200", "202", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"} <= set(responses)
    parameters = spec["paths"]["/api/v1/spaces/{name}/requests"]["post"]["parameters"]
    named = {(found["in"], found["name"]) for found in parameters}
    assert named == {("path", "name"), ("header", "Prefer"), ("header", "Idempotency-Key")}
    assert "Location" in responses["202"]["headers"]


@pytest.mark.parametrize("model", [models.SpaceObject, models.RequestObject, models.LiveObject, models.ErrorBody])
def test_the_objects_are_described_field_by_field(spec, model):
    described = spec["components"]["schemas"][model.__name__]
    assert set(described["properties"]) == set(model.model_fields)
    assert set(described.get("required", ())) >= {
        name for name, field in model.model_fields.items() if field.is_required()
    }


def test_the_page_that_shows_it_needs_nobody_else(visitor):
    page = visitor.get("/api/docs")
    assert page.status_code == 200
    assert "'unsafe-inline'" in page.headers["Content-Security-Policy"].split("style-src")[1].split(";")[0]
    assert "script-src 'unsafe-inline'" not in page.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in visitor.get("/").headers["Content-Security-Policy"]
    sources = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert all(source.startswith("/") for source in sources), sources
    assert not re.findall(r"<script(?![^>]* src=)", page.text)
    for source in sources:
        if "/assets/" in source or "api-docs" in source:
            with visitor.get(source) as asset:
                assert asset.status_code == 200, source


@pytest.mark.parametrize("name", ["../plugins.py", "js/none.js", "%2e%2e/__init__.py", "css"])
def test_only_the_assets_themselves_are_served(visitor, name):
    assert visitor.get(f"/api/docs/assets/{name}").status_code == 404
