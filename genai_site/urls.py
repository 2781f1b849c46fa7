"""The addresses of the site. The API's own are in chat/urls.py."""

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path

from chat.authentication import limited

urlpatterns = [
    # The two log-ins come before the same addresses of what they belong to, which have no limit.
    path("admin/login/", limited(admin.site.login)),
    path("admin/", admin.site.urls),
    path("api-auth/login/", limited(LoginView.as_view(template_name="rest_framework/login.html"))),
    path("api-auth/", include("rest_framework.urls")),
    path("", include("chat.urls")),
]
