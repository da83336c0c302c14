import pytest

from .affinities import FORMS, use_form


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    use_form(monkeypatch, request.param)
    return request.param
