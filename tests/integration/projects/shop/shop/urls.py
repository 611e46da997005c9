"""The site's pages."""

from django.urls import path
from reports import views

urlpatterns = [
    path("reports", views.ask),
    path("reports/<int:report_id>", views.show),
]
