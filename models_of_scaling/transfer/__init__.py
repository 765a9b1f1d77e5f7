"""From surrogates to full scale: ladders, regression of the knee, anchors, and their back-test."""
