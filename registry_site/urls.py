"""Every route of the registry, in the order of the distribution spec's table of endpoints."""

from django.contrib import admin
from django.urls import include, path

from access.views import TokenView
from layers.views import BlobView
from manifests.views import CatalogView, ManifestView, ReferrersView, TagsView
from registry_site.views import alive, ready
from repositories.views import VersionView
from uploads.views import UploadsView, UploadView

admin.site.site_header = admin.site.site_title = "Layerstore"
admin.site.site_url = None  # there are no pages for visitors yet

distribution = [
    path("", VersionView.as_view(), name="version"),  # end-1
    path("<path:name>/blobs/uploads/", UploadsView.as_view(), name="uploads"),  # end-4a, 4b, 11
    path("<path:name>/blobs/uploads/<str:upload_id>", UploadView.as_view(), name="upload"),  # end-5, 6, 13, 14
    path("<path:name>/blobs/<str:digest>", BlobView.as_view(), name="blob"),  # end-2, 10
    path("<path:name>/manifests/<str:reference>", ManifestView.as_view(), name="manifest"),  # end-3, 7, 9
    path("<path:name>/tags/list", TagsView.as_view(), name="tags"),  # end-8a, 8b
    path("<path:name>/referrers/<str:digest>", ReferrersView.as_view(), name="referrers"),  # end-12a, 12b
    path("_catalog", CatalogView.as_view(), name="catalog"),
]

urlpatterns = [
    path("v2", VersionView.as_view()),
    path("v2/", include(distribution)),
    path("token", TokenView.as_view(), name="token"),
    path("healthz", alive, name="alive"),
    path("readyz", ready, name="ready"),
    path("admin/", admin.site.urls),
]

handler400 = "wire.errors.bad_request"
handler403 = "wire.errors.permission_denied"
handler404 = "wire.errors.page_not_found"
handler500 = "wire.errors.server_error"
