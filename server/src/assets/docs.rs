//! What the API says of itself: `/openapi.json`, and `/docs`, where a person can read it and try requests in. All of it
//! is in the program: it works without the internet.

use http::header::HeaderValue;
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile as Part};

use crate::assets::file::{File, Files, Terms, below};

/// The description of the API, kept by hand; tests hold it against the answers.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// The page that Swagger UI comes up in. Its own has a script inside, which the policy would not let run.
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

/// `validatorUrl`: it would send the description to a service on the internet.
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

/// Nothing from elsewhere, and no script in the page. Swagger UI's own images are `data:` in its style sheet. Kept for an
/// hour, since Swagger UI is large.
static TERMS: Terms = Terms {
    policy: HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    keep: HeaderValue::from_static("public, max-age=3600"),
};

/// `/openapi.json`, as it is below `base`.
pub fn description(base: &str) -> File {
    let mut description = OPENAPI.to_owned();
    if !base.is_empty() {
        for (text, below) in [
            ("\"servers\": [{\"url\": \"/\"}]", format!("\"servers\": [{{\"url\": \"{base}\"}}]")),
            ("</products", format!("<{base}/products")), // Link
            ("/docs and /openapi.json", format!("{base}/docs and {base}/openapi.json")),
        ] {
            description = description.replace(text, &below);
        }
    }
    File::new("openapi.json", "application/json; charset=utf-8", description, &TERMS)
}

/// `/docs`, which has the empty name, and the files below it: Swagger UI.
pub fn files(base: &str) -> Files {
    let own = [
        File::new("", "text/html; charset=utf-8", below(base, PAGE), &TERMS),
        File::new("start.js", "text/javascript; charset=utf-8", START.replace("BASE", base), &TERMS),
    ];
    let parts = SwaggerUi::static_files().iter().filter_map(|(part, body)| {
        let content_type = match part {
            Part::Css | Part::IndexCss => "text/css; charset=utf-8",
            Part::Js => "text/javascript; charset=utf-8",
            Part::Favicon16 | Part::Favicon32 => "image/png",
            _ => return None, // the page does without
        };
        Some(File::new(part.file_name(), content_type, *body, &TERMS))
    });
    Files(own.into_iter().chain(parts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_files_that_are_there_and_nothing_on_the_internet() {
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
