"""A project: read a folder, plan what it would change on the platform, apply the plan.

from tandem_sdk import Client
from tandem_sdk.project import apply, plan, read

with Client() as tandem:
    planned = plan(tandem, read("."), stage="dev")
    if planned.changes:
        apply(tandem, planned)
"""

from tandem_sdk.project.apply import Outcome, apply
from tandem_sdk.project.folder import Folder, read
from tandem_sdk.project.nouns import Stage, Thing
from tandem_sdk.project.plan import Plan, Step, load, plan

__all__ = ["Folder", "Outcome", "Plan", "Stage", "Step", "Thing", "apply", "load", "plan", "read"]
