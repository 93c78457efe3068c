"""An address holds no credentials, and none is repeated; ports and names are none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from brainseg.data.address import require_no_credentials
from brainseg.data.remote import local_copy

KEY, SECRET = "CANARYKEY", "canary/secret"


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        work()
    assert KEY not in str(error.value) and SECRET not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "address",
    [
        f"s3://{KEY}:{SECRET}@bucket/data",
        f"s3://{KEY}@bucket/data",
        f"s3://bucket/data?access_key={KEY}&secret_key={SECRET}",
        f"ftp://me:{SECRET}@host/data",
        f"https://host/data?X-Amz-Signature={SECRET}",
        f"zip://k::https://me:{KEY}@host/data.zip",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    tmp_path: Path, address: str
) -> None:
    message = refused(lambda: local_copy(address, tmp_path))
    assert message.startswith("an address of data must hold no credentials, this ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address", ["hdfs://host:8020/data", "gs://anonymous@bucket/x", "abfs://box@host/x"]
)
def test_ports_and_names_are_no_credentials(address: str) -> None:
    require_no_credentials(address)
