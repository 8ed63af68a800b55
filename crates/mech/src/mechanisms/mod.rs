//! One file for each mechanism; the lines of the registry declare them.

macro_rules! declare {
    ($($module:ident::$type:ident: $($preset:ident),+;)+) => {
        $(pub mod $module;)+
    };
}

crate::for_each_mechanism!(declare);
