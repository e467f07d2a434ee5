//! The description of the API: `/openapi.json`, and Swagger UI at `/docs`. All of it is part of the program and works
//! without internet access.

use http::header::HeaderValue;
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile as Part};

use crate::assets::file::{File, Files, Policy, with_base};

/// Written by hand; tests compare it with the answers.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// The page of Swagger UI. Its own has an inline script, which the content security policy forbids.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Atelier product catalogue</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/index.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png" sizes="32x32">
<link rel="icon" type="image/png" href="/docs/favicon-16x16.png" sizes="16x16">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

/// `validatorUrl` is null because it would send the description to a service on the internet.
const START: &str = r##"SwaggerUIBundle({
  url: "BASE/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"##;

/// Nothing from other origins, and no inline scripts. Swagger UI has `data:` images in its style sheet. Cached for an hour,
/// since Swagger UI is large.
static POLICY: Policy = Policy {
    content_security: HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    cache_control: HeaderValue::from_static("public, max-age=3600"),
};

/// `/openapi.json`, with all paths below `base`.
pub(crate) fn openapi(base: &str) -> File {
    let mut description = OPENAPI.to_owned();
    if !base.is_empty() {
        for (text, with_base) in [
            ("\"servers\": [{\"url\": \"/\"}]", format!("\"servers\": [{{\"url\": \"{base}\"}}]")),
            ("</products", format!("<{base}/products")), // Link
            ("/docs or /openapi.json", format!("{base}/docs or {base}/openapi.json")),
        ] {
            description = description.replace(text, &with_base);
        }
    }
    File::new("openapi.json", "application/json; charset=utf-8", description, &POLICY)
}

/// `/docs`, which has the empty name, and the files below it.
pub(crate) fn files(base: &str) -> Files {
    let own = [
        File::new("", "text/html; charset=utf-8", with_base(base, PAGE), &POLICY),
        File::new("start.js", "text/javascript; charset=utf-8", START.replace("BASE", base), &POLICY),
    ];
    let parts = SwaggerUi::static_files().iter().filter_map(|(part, body)| {
        let content_type = match part {
            Part::Css | Part::IndexCss => "text/css; charset=utf-8",
            Part::Js => "text/javascript; charset=utf-8",
            Part::Favicon16 | Part::Favicon32 => "image/png",
            _ => return None, // the page does not use it
        };
        Some(File::new(part.file_name(), content_type, *body, &POLICY))
    });
    Files(own.into_iter().chain(parts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_links_to_existing_files_and_to_no_other_origin() {
        let named: Vec<&str> = PAGE.split('"').filter_map(|text| text.strip_prefix("/docs/")).collect();
        let files = files("");
        let known: Vec<&str> = files.0.iter().map(|file| file.name).filter(|name| !name.is_empty()).collect();
        assert_eq!(named.len(), known.len(), "{named:?} {known:?}");
        assert!(named.iter().all(|name| known.contains(name)), "{named:?} {known:?}");
        for text in [PAGE, START] {
            assert!(!text.contains("//"), "{text}");
        }
    }
}
