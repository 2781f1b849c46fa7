// htmx would write a style inline and run code from attributes: the content security policy refuses the one, and nothing
// here needs the other.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
