"""Which names say that their value is a secret; each line of the table is a decision."""

from __future__ import annotations

import pytest

from ctxqueue.models import Address, Agent, ContextScope
from ctxqueue.rules.access import is_sensitive_name, may_read
from ctxqueue.rules.policies import SHIPPED

SENSITIVE = """
password  Password  PASSWORD  password1  db_password  dbPassword  DB_PASSWORD  db.password  user-password  passwords
passwd  root_passwd  mypassword  userpasswd  password_hash  old passwords  the.password.of.the.site
secret  secrets  client_secret  clientSecret  SECRET  top_secret_plan  secret_key  shared.secret
credential  credentials  site_credentials  siteCredential  credential_web  AWSCredentials
token  access_token  accessToken  refresh-token  auth.token  token_value  APIToken  max_token  token_counts  TOKEN
token_limits  session_token_id
api_key  apiKey  APIKey  API_KEY  api-key  api.keys  apikey  APIKEY  apikeys  api_key_id  rates_api_key
access_key  private_key  privateKey  signing_key  encryption_keys  ssh_key  sshKey  id.ssh.key.pub
"""
HARMLESS = """
tokens  max_tokens  tokens_used  token_count  tokenCount  token_usage  token_budget  TOKEN_LIMIT  token-limit
prompt.tokens  tokenizer  tokenized_text  secretary  secretariat  passwordless_login  compass  passage
passport_country  accreditation
key  keys  keyboard  primary_key  foreign_key  public_key  key_api  sort_key  monkey  turkey_rates  cache_key  keystone
api  api_url  api_version_key  apiary  access  access_level  private_notes  signing_bonus  encryption  ssh_host
revenue_data  exchange_rates  error_state  calculation_results  user_preferences  report  chart  access_granted_key
"""


def names(table: str) -> list[str]:
    """Split at two spaces or a line's end: a name may have one."""
    return [name for line in table.strip().splitlines() for name in line.split("  ") if name]


def test_the_table_is_large_enough_to_mean_something() -> None:
    assert len(set(names(SENSITIVE))) >= 60
    assert len(set(names(HARMLESS))) > 40
    assert not set(names(SENSITIVE)) & set(names(HARMLESS))


@pytest.mark.parametrize("name", names(SENSITIVE))
def test_a_sensitive_name(name: str) -> None:
    assert is_sensitive_name(name)


@pytest.mark.parametrize("name", names(HARMLESS))
def test_a_harmless_name(name: str) -> None:
    assert not is_sensitive_name(name)


@pytest.mark.parametrize(
    ("agent_type", "key", "verdict"),
    [
        ("web_extractor", "site_credentials", True),
        ("web_extractor", "siteCredential", True),
        ("web_extractor", "rates_api_key", False),
        ("web_extractor", "db_password", False),
        ("financial_calculator", "rates_api_key", True),
        ("financial_calculator", "RATES_API_KEY", True),
        ("financial_calculator", "site_credentials", False),
        ("report_generator", "site_credentials", False),
        ("analyst", "rates_api_key", False),
    ],
)
def test_who_may_read_what(agent_type: str, key: str, verdict: bool) -> None:  # noqa: FBT001 - a column of the table
    agent = Agent(f"{agent_type}_001")
    for scope, owner, owned in (
        (ContextScope.WORKFLOW, "", True),
        (ContextScope.GLOBAL, "", True),
        (ContextScope.PRIVATE, agent.agent_id, True),
        (ContextScope.PRIVATE, "somebody_else", False),
        (ContextScope.AGENT_GROUP, "theirs", False),
    ):
        address = Address(scope, owner, key)
        assert may_read(SHIPPED, agent, address, sensitive=True) is (verdict and owned)
        assert may_read(SHIPPED, agent, address, sensitive=False) is owned
