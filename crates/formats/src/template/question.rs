//! Tests: `is defined`, `is in`. What compares is paid for before.

use super::fuel::{pay, weigh};
use minijinja::value::Value;
use minijinja::{Environment, Error, State, tests};

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("number", tests::is_number);
    environment.add_test("float", tests::is_float);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("string", tests::is_string);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    for name in ["integer", "int"] {
        environment.add_test(name, tests::is_integer);
    }
    environment.add_test("lower", |state: &State<'_, '_>, value: &Value| cased(state, value, tests::is_lower));
    environment.add_test("upper", |state: &State<'_, '_>, value: &Value| cased(state, value, tests::is_upper));
    environment.add_test("in", |state: &State<'_, '_>, value: &Value, other: &Value| {
        weigh(state, value)?;
        weigh(state, other)?;
        tests::is_in(state, value, other)
    });
    type Comparison = fn(&Value, &Value) -> bool;
    let comparisons: [(&[&str], Comparison); 7] = [
        (&["eq", "equalto", "=="], tests::is_eq),
        (&["ne", "!="], tests::is_ne),
        (&["sameas"], tests::is_sameas),
        (&["lt", "lessthan", "<"], tests::is_lt),
        (&["le", "<="], tests::is_le),
        (&["gt", "greaterthan", ">"], tests::is_gt),
        (&["ge", ">="], tests::is_ge),
    ];
    for (names, compare) in comparisons {
        for name in names {
            environment.add_test(*name, move |state: &State<'_, '_>, value: &Value, other: &Value| {
                weigh(state, value)?;
                weigh(state, other)?;
                Ok::<_, Error>(compare(value, other))
            });
        }
    }
}

fn cased(state: &State<'_, '_>, value: &Value, test: fn(&Value) -> bool) -> Result<bool, Error> {
    pay(state, value.as_str().map_or(0, str::len))?;
    Ok(test(value))
}
