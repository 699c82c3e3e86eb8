"""One model of a layer, written once, for both exact back ends."""
