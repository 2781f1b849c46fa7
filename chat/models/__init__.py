"""Shapes and constraints of what is stored.

Each chat writes every index of its tables, so there are no more than the queries need: a `db_index=False` stands where
another index begins with that column, and `request_id` has a named index since `db_index=True` would make a second one
for LIKE on PostgreSQL.
"""

from __future__ import annotations

from chat.models.alerts import Alert as Alert
from chat.models.budgets import MOST_DOLLARS as MOST_DOLLARS
from chat.models.budgets import NO_LIMIT as NO_LIMIT
from chat.models.budgets import BudgetPeriod as BudgetPeriod
from chat.models.budgets import DollarsField as DollarsField
from chat.models.budgets import NanoDollarsField as NanoDollarsField
from chat.models.budgets import Period as Period
from chat.models.budgets import TokenBudget as TokenBudget
from chat.models.budgets import UsageRecord as UsageRecord
from chat.models.budgets import validate_rate as validate_rate
from chat.models.conversations import Conversation as Conversation
from chat.models.conversations import IdempotentRequest as IdempotentRequest
from chat.models.conversations import Message as Message
from chat.models.keys import Key as Key
from chat.models.keys import KeyDetail as KeyDetail
from chat.models.rollup import CallSum as CallSum
from chat.models.rollup import LatencySum as LatencySum
from chat.models.rollup import OutcomeSum as OutcomeSum
from chat.models.rollup import Rollup as Rollup
from chat.models.rollup import UserSum as UserSum
