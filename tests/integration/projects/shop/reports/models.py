"""What the site keeps."""

from django.db import models


class Report(models.Model):
    """A report that somebody asked for."""

    quarter = models.CharField(max_length=10)
    total = models.DecimalField(max_digits=12, decimal_places=2, null=True)

    def __str__(self):
        """Name it as people do."""
        return f"report of {self.quarter}"
