//! The admin port.

use crate::client::{get, request};
use crate::fixture::serve;

#[test]
fn the_admin_port_has_three_paths() {
    let served = serve(&[]);
    let admin = served.server.admin;
    for (target, body) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = get(admin, target);
        assert_eq!((answer.status, answer.text()), (200, body));
        assert_eq!(request(admin, "HEAD", target, &[]).status, 200);
    }
    // Other tests check the metrics.
    assert_eq!(request(admin, "HEAD", "/metrics", &[]).status, 200);
    for target in ["/livez", "/readyz", "/metrics"] {
        for method in ["POST", "DELETE", "OPTIONS"] {
            let refusal = request(admin, method, target, &[]);
            assert_eq!(
                (refusal.status, refusal.header("allow")),
                (405, Some("GET, HEAD")),
                "{method} {target}"
            );
            assert_eq!(refusal.header("content-type"), Some("text/plain; charset=utf-8"), "{target}");
            assert_eq!(refusal.text(), "only GET, HEAD\n", "{method} {target}");
        }
    }
    for target in ["/", "/products", "/products/1", "/metrics/", "/docs"] {
        for method in ["GET", "POST", "OPTIONS"] {
            let refusal = request(admin, method, target, &[]);
            assert_eq!((refusal.status, refusal.header("allow")), (404, None), "{method} {target}");
            assert!(refusal.text().contains("/readyz"), "{method} {target}");
        }
    }
}
