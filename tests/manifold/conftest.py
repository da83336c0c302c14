import pytest

from .affinities import FORMS


@pytest.fixture(params=FORMS)
def form(request):
    return request.param
