"""What runs leave behind: pictures and files, each written whole or not at all."""
