"""Publishing when Django's transaction has been committed, which may be after the end of ``with wf:``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ctxqueue.identity import current_workflow
from ctxqueue.integration.headers import NAMESPACE, WORKFLOW

if TYPE_CHECKING:
    from celery.contrib.django.task import DjangoTask

    TaskBase = DjangoTask[..., Any]
else:
    TaskBase = object


class CarriedOnCommit(TaskBase):
    """Laid over the task class that Celery gives a Django project: the workflow is that of the call."""

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]  # it returns nothing
        """Publish once the transaction is committed; nothing, if it is rolled back."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, **options: Any) -> None:  # type: ignore[override]  # likewise
        """Likewise, with options."""
        reference = current_workflow.get()
        if reference is not None:
            carried = {WORKFLOW: reference.workflow_id, NAMESPACE: reference.namespace}
            options["headers"] = {**carried, **(options.get("headers") or {})}
        super().apply_async_on_commit(*args, **options)
