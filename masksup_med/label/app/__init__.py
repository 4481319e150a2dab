"""What MONAI Label loads; it runs in the environment that ``masksup label --install`` makes, which has monailabel."""
