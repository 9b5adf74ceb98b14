// Starts Swagger UI on our schema, with fresh example values, and fills the id and ETag of what was submitted last.
"use strict";

(async () => {
  const place = document.getElementById("swagger-ui");
  const last = document.getElementById("last");
  const item = "/api/v1/transactions/{id}";

  // crypto.randomUUID() exists on https and localhost only.
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  const answer = await fetch(place.dataset.schema).catch(() => null);
  if (!answer || !answer.ok) {
    place.textContent = "The schema cannot be read now. Reload the page.";
    return;
  }
  const spec = await answer.json();
  // The server that served this page: the public address may be another, and another origin would need CORS.
  spec.servers = [{ url: window.location.origin }];
  // An example that somebody sent before would be answered "reused" or "exists".
  spec.components.parameters["Idempotency-Key"].example = random();
  const examples = spec.paths["/api/v1/transactions"].post.requestBody.content["application/json"].examples;
  for (const { value } of Object.values(examples)) {
    if (value.external_id) value.external_id = `inv-${random().slice(0, 8)}`;
  }
  // The index page has this table: here it would push the first operation off the screen.
  spec.info.description = spec.info.description.split("\n\n| status |")[0].replace(
    "with one of these types:", "with one of [these types](/#problem-types).");
  delete spec.jsonSchemaDialect;
  // Only what its reader wants to send: a change that nobody asked for needs no key.
  for (const name of ["Idempotency-Key-Optional", "traceparent", "If-None-Match", "If-Match-Optional"]) {
    delete spec.components.parameters[name].example;
  }
  for (const parameter of Object.values(spec.components.parameters)) {
    if (parameter.in === "query") delete parameter.example;
  }

  function remember(response) {
    const created = response.status === 201 && response.body && response.body.id;
    const tag = response.headers && response.headers.etag;
    const match = /\/api\/v1\/transactions\/([0-9a-f-]{36})$/.exec(new URL(response.url, window.location.href).pathname);
    const id = created || (match && match[1]);
    if (!id || response.status >= 400) return;
    for (const method of ["get", "put", "patch", "delete"]) fill(item, method, "id", "path", id);
    fill(`${item}/events`, "get", "id", "path", id);
    if (tag) {
      for (const method of ["put", "patch"]) fill(item, method, "If-Match", "header", tag);
    }
    last.textContent = `Your transaction: ${id}` + (tag ? `, ETag ${tag}` : "");
    last.hidden = false;
  }

  function fill(path, method, name, where, value) {
    ui.specActions.changeParam([path, method], name, where, value, false);
  }

  const ui = window.SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    // The key stays in this browser's storage until Logout.
    persistAuthorization: true,
    supportedSubmitMethods: ["get", "put", "post", "delete", "patch"],
    validatorUrl: null,
    responseInterceptor: (response) => {
      try {
        remember(response);
      } catch (error) {
        console.error(error);
      }
      return response;
    },
  });
})();
