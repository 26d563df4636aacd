// Shows the API's description with Swagger UI. Calls tried out there carry the page's CSRF token.

const place = document.getElementById("api-docs");
const csrfToken = document.querySelector('meta[name="csrf-token"]').content;

function withCsrfToken(request) {
  if (new URL(request.url, location.href).origin === location.origin) {
    request.headers["X-CSRFToken"] = csrfToken;
  }
  return request;
}

window.SwaggerUIBundle({
  url: place.dataset.description,
  domNode: place,
  deepLinking: false, // its links would stand inside buttons, out of reach of a screen reader
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  requestInterceptor: withCsrfToken,
});
