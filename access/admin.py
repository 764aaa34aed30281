from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest

from access import services
from access.models import RefreshToken, User

admin.site.register(User, UserAdmin)


@admin.register(RefreshToken)
class RefreshTokenAdmin(admin.ModelAdmin):
    """Where clients are logged in; deleting one logs it out."""

    list_display = ["user", "client_id", "created_at", "last_used_at"]
    list_select_related = ["user"]
    search_fields = ["user__username"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RefreshToken | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: RefreshToken) -> None:
        services.revoke_refresh_tokens([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RefreshToken]) -> None:
        services.revoke_refresh_tokens(queryset.select_related("user"))
