"""Specs become what runs, one service or many, on one cluster or several; and how services go."""
