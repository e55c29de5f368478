"""Cuts an image file down to what makes its pixels, and reads from its header how much work decoding it will be.

Cameras and editors leave junk in EXIF, ICC profiles, notes and indexes, and a decoder that looks at it may fail on a
good picture. So JPEG, PNG, TIFF, AVIF and HEIF files are cut down to what makes the pixels before a decoder sees them.
Of the metadata, the orientation alone counts, and it is read here. Nothing is decompressed, and nothing raises on
damage: what is odd is left for the decoder to judge. `UnusableFileError` is for what a decoder would get wrong.
"""
