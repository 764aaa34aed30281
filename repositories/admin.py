from django.contrib import admin

from repositories.models import Repository


@admin.register(Repository)
class RepositoryAdmin(admin.ModelAdmin):
    """Who may read a repository is edited here; names and content come from pushes."""

    list_display = ["name", "visibility", "created_at"]
    fields = ["name", "visibility", "created_at"]
    list_filter = ["visibility"]
    search_fields = ["name"]
    readonly_fields = ["name", "created_at"]

    def has_add_permission(self, request):
        return False

    def has_delete_permission(self, request, obj=None):
        return False
