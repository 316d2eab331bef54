"""What this installation of GDAL can do, for `mapmill doctor`."""

import rasterio


def gdal() -> tuple[str, set[str]]:
    """Version of GDAL, and names of the formats that it knows."""
    with rasterio.Env() as env:
        return str(rasterio.__gdal_version__), set(env.drivers())
