"""What stands between the eras: clients with sessions over servers without, and the other way round."""
