//! Query parameters of `/products`, and numbers in requests. No I/O.

use std::borrow::Cow;
use std::sync::Arc;

use crate::http::problem::Problem;

/// Products on a page by default.
pub(crate) const DEFAULT_COUNT: i32 = 5;
/// Most products on a page. A higher `count` is reduced to this.
pub(crate) const MAX_COUNT: i32 = 1000;
/// Most ids in all `ids=` together.
pub const MAX_IDS: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// From 1.
    pub(crate) page: i32,
    /// 1 to [`MAX_COUNT`].
    pub(crate) count: i32,
    /// 1 to [`MAX_IDS`] of them, in the order of the request.
    pub(crate) ids: Option<Arc<[i32]>>,
}

impl Parameters {
    /// Ignores unknown parameters. `ids` may be given more than once, as generated clients do; any other parameter may
    /// not.
    pub(crate) fn parse(query: &str) -> Result<Parameters, Problem> {
        let (mut page, mut count, mut ids) = (None, None, Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = match &*name {
                "page" => &mut page,
                "count" => &mut count,
                "ids" => {
                    ids.push(value);
                    continue;
                }
                _ => continue,
            };
            if known.replace(value).is_some() {
                return Err(Problem::bad_request(format!("the parameter {name} is given twice")));
            }
        }
        Ok(Parameters {
            page: page.map_or(Some(1), |page| positive(&page)).ok_or_else(|| {
                Problem::bad_request(format!("the parameter page must be a number from 1 to {}", i32::MAX))
            })?,
            count: count.map_or(Some(DEFAULT_COUNT), |count| positive_up_to(&count, MAX_COUNT)).ok_or_else(
                || {
                    Problem::bad_request(format!(
                        "the parameter count must be a number from 1 on; above {MAX_COUNT} it is {MAX_COUNT}"
                    ))
                },
            )?,
            ids: if ids.is_empty() { None } else { Some(parse_ids(&ids)?) },
        })
    }
}

fn parse_ids(lists: &[Cow<'_, str>]) -> Result<Arc<[i32]>, Problem> {
    let ids = lists.iter().flat_map(|list| list.split(','));
    let ids: Option<Vec<i32>> = ids.take(MAX_IDS + 1).map(positive).collect();
    ids.filter(|ids| ids.len() <= MAX_IDS).map(Arc::from).ok_or_else(|| {
        Problem::bad_request(format!(
            "the parameter ids must be 1 to {MAX_IDS} numbers from 1 to {}, separated by commas",
            i32::MAX
        ))
    })
}

/// A positive number of any length, reduced to `max`.
fn positive_up_to(text: &str, max: i32) -> Option<i32> {
    let is_positive = is_number(text) && text.bytes().any(|digit| digit != b'0');
    is_positive.then(|| positive(text).map_or(max, |number| number.min(max)))
}

/// A positive number that fits into an `int` of PostgreSQL.
pub(crate) fn positive(text: &str) -> Option<i32> {
    text.parse().ok().filter(|number| is_number(text) && *number > 0)
}

/// Only digits: `str::parse` would accept a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
