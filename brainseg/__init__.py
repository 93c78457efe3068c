"""brainseg: which encoder, frozen how far, on which schedule, segments this brain MRI best?"""

__version__ = "0.1.0"
