//! An order in which each view finds the views it stands on. Looks at texts only.

use std::collections::BTreeMap;

use crate::engine::mysql_family::dump::schema::{
    Object,
    text::{Token, tokens},
};

/// Every `x`.`y` in a view's text that is a view is one it may stand on. A column of an alias can look like one, too: where that
/// makes a circle, it is no reason to wait.
pub(super) fn in_order(views: Vec<Object>) -> Vec<Object> {
    let at: BTreeMap<(String, String), usize> =
        views.iter().enumerate().map(|(at, view)| ((view.database.clone(), view.name.clone()), at)).collect();
    let below: Vec<Vec<usize>> =
        views.iter().map(|view| pairs(&view.create).iter().filter_map(|pair| at.get(pair).copied()).collect()).collect();
    let mut order = Vec::new();
    let mut seen = vec![false; views.len()];
    for start in 0..views.len() {
        // Each view and how many of those below it have been looked at.
        let mut path = vec![(start, 0)];
        while let Some((view, next)) = path.pop() {
            if next == 0 && std::mem::replace(&mut seen[view], true) {
                continue;
            }
            match below[view].get(next) {
                Some(other) => path.extend([(view, next + 1), (*other, 0)]),
                None => order.push(view),
            }
        }
    }
    let mut views: Vec<Option<Object>> = views.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| views[at].take()).collect()
}

fn pairs(create: &str) -> Vec<(String, String)> {
    let tokens = tokens(create).unwrap_or_default();
    let pair = |window: &[Token]| match window {
        [first, dot, second] if dot.is(create, ".") => Some((first.name(create)?, second.name(create)?)),
        _ => None,
    };
    tokens.windows(3).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mysql_family::dump::schema::Context;

    fn view(name: &str, create: &str) -> Object {
        let (name, create) = (name.to_owned(), create.to_owned());
        Object { kind: "view".into(), database: "d".into(), name, create, context: Context::default() }
    }

    #[test]
    fn what_a_view_stands_on_comes_first() {
        let views = vec![
            view("a", "VIEW `d`.`a` AS select `x`.`b` AS `b` from `d`.`c` `x` join `d`.`b`"),
            view("b", "VIEW `d`.`b` AS select '`d`.`a`' from `d`.`e``f`"),
            view("c", "VIEW `d`.`c` AS select 1 from `d`.`b`"),
            view("e`f", "VIEW `d`.`e``f` AS select 1"),
        ];
        let order: Vec<String> = in_order(views).into_iter().map(|view| view.name).collect();
        assert_eq!(order, ["e`f", "b", "c", "a"]);
    }

    #[test]
    fn a_circle_loses_no_view() {
        let views = vec![view("a", "`d`.`b` `d`.`a`"), view("b", "`d`.`c`"), view("c", "`d`.`a`")];
        let order: Vec<String> = in_order(views).into_iter().map(|view| view.name).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }
}
